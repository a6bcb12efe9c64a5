//! Cholesky factors of symmetric positive matrices: solving, inverting, and finding which columns
//! are linear combinations of others.

use std::convert::Infallible;

use crate::Matrix;

/// Lower triangular L with L L^T = A.
#[derive(Debug, Clone)]
pub struct Cholesky {
    lower: Matrix,
}

impl Cholesky {
    /// `None` when a pivot is not above `floor` times its diagonal entry: the matrix is singular
    /// to that precision.
    pub fn new(matrix: &Matrix, floor: f64) -> Option<Self> {
        let Ok(factor) = Self::new_within(matrix, floor, || Ok::<(), Infallible>(()));
        factor
    }

    /// The same for a large matrix: `check` is asked before each of its n rows, which cost up to n^2
    /// operations each, and ends it with its error.
    pub fn new_within<E>(
        matrix: &Matrix,
        floor: f64,
        check: impl Fn() -> Result<(), E>,
    ) -> Result<Option<Self>, E> {
        Self::from_fn(matrix.rows(), floor, |i, j| matrix[(i, j)], check)
    }

    /// The factor of the rows and columns `keep`, in that order.
    pub fn of_principal(matrix: &Matrix, keep: &[usize], floor: f64) -> Option<Self> {
        let Ok(factor) =
            Self::of_principal_within(matrix, keep, floor, || Ok::<(), Infallible>(()));
        factor
    }

    /// The same for many of them, as in [`Self::new_within`].
    pub fn of_principal_within<E>(
        matrix: &Matrix,
        keep: &[usize],
        floor: f64,
        check: impl Fn() -> Result<(), E>,
    ) -> Result<Option<Self>, E> {
        let value = |i: usize, j: usize| matrix[(keep[i], keep[j])];
        Self::from_fn(keep.len(), floor, value, check)
    }

    fn from_fn<E>(
        n: usize,
        floor: f64,
        value: impl Fn(usize, usize) -> f64,
        check: impl Fn() -> Result<(), E>,
    ) -> Result<Option<Self>, E> {
        let mut lower = Matrix::zeros(n, n);
        for i in 0..n {
            check()?;
            let (above, here) = lower.values_mut().split_at_mut(i * n);
            let row = &mut here[..n];
            for j in 0..i {
                let other = &above[j * n..(j + 1) * n];
                let rest = value(i, j) - crate::dot(&row[..j], &other[..j]);
                row[j] = rest / other[j];
            }
            let whole = value(i, i);
            let rest = whole - crate::dot(&row[..i], &row[..i]);
            if rest.is_nan() || rest <= floor * whole.abs() {
                return Ok(None);
            }
            row[i] = libm::sqrt(rest);
        }
        Ok(Some(Self { lower }))
    }

    pub fn lower(&self) -> &Matrix {
        &self.lower
    }

    /// Solves A x = b in place.
    pub fn solve(&self, b: &mut [f64]) {
        let n = self.lower.rows();
        self.solve_lower(b);
        for i in (0..n).rev() {
            b[i] /= self.lower[(i, i)];
            let (head, tail) = b.split_at_mut(i);
            crate::axpy(-tail[0], &self.lower.row(i)[..i], head);
        }
    }

    /// Solves L x = b in place.
    pub fn solve_lower(&self, b: &mut [f64]) {
        for i in 0..self.lower.rows() {
            let dot = crate::dot(&self.lower.row(i)[..i], &b[..i]);
            b[i] = (b[i] - dot) / self.lower[(i, i)];
        }
    }

    /// The inverse of L, lower triangular.
    pub fn lower_inverse(&self) -> Matrix {
        let Ok(inverse) = self.lower_inverse_within(|| Ok::<(), Infallible>(()));
        inverse
    }

    /// The same for a large matrix, as in [`Self::new_within`].
    pub fn lower_inverse_within<E>(&self, check: impl Fn() -> Result<(), E>) -> Result<Matrix, E> {
        let n = self.lower.rows();
        let mut inverse = Matrix::zeros(n, n);
        for i in 0..n {
            check()?;
            let (above, here) = inverse.values_mut().split_at_mut(i * n);
            let (row, lower) = (&mut here[..=i], self.lower.row(i));
            for (k, factor) in lower[..i].iter().enumerate() {
                crate::axpy(-factor, &above[k * n..][..=k], &mut row[..=k]);
            }
            row[i] = 1.0;
            for x in row {
                *x /= lower[i];
            }
        }
        Ok(inverse)
    }

    /// The inverse of A.
    pub fn inverse(&self) -> Matrix {
        self.lower_inverse().lower_cross_product()
    }
}

/// Cholesky with the largest remaining pivot first, stopped when none is left.
#[derive(Debug, Clone)]
pub struct PivotedCholesky {
    /// Columns in the order they were taken; together they span all columns.
    pub taken: Vec<usize>,
    /// Columns that are linear combinations of those taken, in rising order.
    pub dependent: Vec<usize>,
}

impl PivotedCholesky {
    /// A column is dependent when less than `tolerance` of its own diagonal is left. Ties are
    /// broken by the smaller index.
    pub fn new(matrix: &Matrix, tolerance: f64) -> Self {
        let Ok(found) = Self::new_within(matrix, tolerance, || Ok::<(), Infallible>(()));
        found
    }

    /// The same for a large matrix: `check` is asked before each column is taken, which costs up to
    /// n^2 operations.
    pub fn new_within<E>(
        matrix: &Matrix,
        tolerance: f64,
        check: impl Fn() -> Result<(), E>,
    ) -> Result<Self, E> {
        let n = matrix.rows();
        let mut rest: Vec<f64> = (0..n).map(|i| matrix[(i, i)]).collect();
        let mut free: Vec<bool> = (0..n).map(|i| matrix[(i, i)] > 0.0).collect();
        let mut factors: Vec<Vec<f64>> = Vec::new();
        let mut taken = Vec::new();
        loop {
            check()?;
            let candidate = (0..n)
                .filter(|&i| free[i] && rest[i] > tolerance * matrix[(i, i)])
                .reduce(|best, i| if rest[i] > rest[best] { i } else { best });
            let Some(pivot) = candidate else { break };
            let mut column = matrix.row(pivot).to_vec();
            for factor in &factors {
                crate::axpy(-factor[pivot], factor, &mut column);
            }
            let root = libm::sqrt(rest[pivot]);
            for x in &mut column {
                *x /= root;
            }
            for (left, x) in rest.iter_mut().zip(&column) {
                *left -= x * x;
            }
            free[pivot] = false;
            factors.push(column);
            taken.push(pivot);
        }
        let dependent = (0..n).filter(|i| free[*i]).collect();
        Ok(Self { taken, dependent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Philox;

    fn positive(n: usize) -> Matrix {
        let mut rng = Philox::new(5, 0);
        let values = (0..3 * n * n).map(|_| rng.normal()).collect();
        Matrix::from_vec(3 * n, n, values).cross_product()
    }

    #[test]
    fn inverse_times_matrix_is_the_identity() {
        for n in [1, 2, 7, 30] {
            let matrix = positive(n);
            let inverse = Cholesky::new(&matrix, 0.0).unwrap().inverse();
            let product = matrix.times(&inverse);
            let gap = product
                .values()
                .iter()
                .zip(Matrix::identity(n).values())
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f64::max);
            assert!(gap < 1e-11, "{gap}");
        }
    }

    #[test]
    fn solution_satisfies_the_system() {
        let matrix = positive(9);
        let b: Vec<f64> = (0..9).map(f64::from).collect();
        let mut x = b.clone();
        Cholesky::new(&matrix, 0.0).unwrap().solve(&mut x);
        for (i, expected) in b.iter().enumerate() {
            assert!((crate::dot(matrix.row(i), &x) - expected).abs() < 1e-10);
        }
    }

    #[test]
    fn singular_matrix_has_no_factor() {
        let matrix = Matrix::from_vec(2, 2, vec![1.0, 1.0, 1.0, 1.0]);
        assert!(Cholesky::new(&matrix, 1e-12).is_none());
    }

    #[test]
    fn pivoting_names_the_dependent_column() {
        let mut rng = Philox::new(6, 0);
        let mut rows = Matrix::zeros(50, 4);
        for i in 0..50 {
            let [a, b, c] = [rng.normal(), rng.normal(), rng.normal()];
            rows.row_mut(i)
                .copy_from_slice(&[a, b, c, 0.1 * a - 0.2 * c]);
        }
        let found = PivotedCholesky::new(&rows.cross_product(), 1e-10);
        assert_eq!(found.taken.len(), 3);
        assert_eq!(found.dependent.len(), 1);
        assert!(!found.taken.contains(&found.dependent[0]));
    }
}
